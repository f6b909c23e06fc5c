"$F" help train
