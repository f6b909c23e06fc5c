"$F" train --set data.name=folder --set data.path=$T/none --out run
