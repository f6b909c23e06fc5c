printf "train: {epochs: 3\nnet: [\n" > c.yaml; "$F" train c.yaml --out run
