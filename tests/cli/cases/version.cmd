"$F" --version
