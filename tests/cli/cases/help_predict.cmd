"$F" predict --help
