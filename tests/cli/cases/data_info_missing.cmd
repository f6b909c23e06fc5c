"$F" data info $T/none
