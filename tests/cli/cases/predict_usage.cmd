"$F" predict
