"$F" study --out x
