printf "net: {arch: resnet8}\nmoe:\n  - {at: stage3, experts: 4, k: 1, gate: renorm}\n" > c.yaml; "$F" train c.yaml --out run
