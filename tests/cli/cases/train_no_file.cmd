"$F" train nothing.yaml --out run
