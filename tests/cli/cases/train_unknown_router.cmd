printf "net: {arch: resnet8}\nmoe:\n  - {at: head, expert: mlp, router: sotfmax}\n" > c.yaml; "$F" train c.yaml --out run
