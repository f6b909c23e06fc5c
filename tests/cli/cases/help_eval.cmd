"$F" eval --help
