printf "study: a\narms:\n  - name: x\n    like: y\n" > p.yaml; "$F" study p.yaml --out x
