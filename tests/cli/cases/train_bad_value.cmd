printf "train: {epochs: 3}\nnet:\n  arch: resnet8\ntrain2: 4\n" > c.yaml; "$F" train c.yaml --set train.lr=-1 --out run
