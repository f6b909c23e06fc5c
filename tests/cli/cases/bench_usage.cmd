"$F" bench --train-only --infer-only; echo $?; "$F" bench --batch 0; echo $?; echo "{}" > peaks.json; "$F" bench --peaks peaks.json; echo $?; "$F" bench --peaks none.json
