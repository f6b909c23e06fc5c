"$F" data frob
