"$F" data fetch imagenet
