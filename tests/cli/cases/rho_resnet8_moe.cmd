# up to the memory plan, which depends on the CPU's kernels
printf "net: {arch: resnet8, width: 8}\nmoe:\n  - {at: stage3, expert: conv, experts: 4, k: 2, hidden: 16}\n" > c.yaml; "$F" rho --no-time c.yaml | sed '/^memory of/,$d'
