printf "net: {arch: resnet8, width: 8}\nmoe:\n  - {at: stage3, expert: conv, experts: 4, k: 2, hidden: 16}\n" > c.yaml; "$F" rho --no-time c.yaml
