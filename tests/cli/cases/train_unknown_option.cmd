"$F" train --oot x
