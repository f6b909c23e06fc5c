"$F" trian
