"$F" data --help
