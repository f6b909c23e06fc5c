"$F" doctor --threads -3
