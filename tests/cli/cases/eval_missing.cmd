"$F" eval $T/none
