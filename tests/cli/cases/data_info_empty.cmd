mkdir none; "$F" data info none --json
