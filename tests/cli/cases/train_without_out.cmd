"$F" train
