"$F" report $T
