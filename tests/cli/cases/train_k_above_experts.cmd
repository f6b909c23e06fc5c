printf "net: {arch: resnet8}\nmoe:\n  - {at: stage3, experts: 4, k: 5}\n" > c.yaml; "$F" train c.yaml --out run
