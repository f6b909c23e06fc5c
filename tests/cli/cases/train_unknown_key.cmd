printf "train:\n  epochs: 3\n  epochz: 4\n" > c.yaml; "$F" train c.yaml --out run
