"$F" --help
