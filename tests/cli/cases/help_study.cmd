"$F" study --help
