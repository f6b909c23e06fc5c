"$F" data list
