"$F" study plan.yaml --out x --jobs many
