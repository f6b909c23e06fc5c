"$F" report --help
