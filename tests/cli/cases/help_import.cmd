"$F" import --help
