"$F" rho --help
