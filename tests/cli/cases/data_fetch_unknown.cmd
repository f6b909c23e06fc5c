"$F" data fetch clusters
