printf "train:\n  epochs: 3\n  lr: -1\n" > c.yaml; "$F" train c.yaml --out run
