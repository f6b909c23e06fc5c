"$F" train --out
