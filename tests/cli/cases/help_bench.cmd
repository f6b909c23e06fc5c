"$F" bench --help
