#!/bin/sh
# Stands in for "fulcrum train CONFIG --out DIR --resume --arm ARM --threads N --quiet": writes the figures a run would leave, from the arm's name
# and the seed alone, so that the study's scheduling, statistics and page can be tested in a second. FAKE_FAIL="arm:seed" makes that run fail,
# FAKE_SLEEP delays each run, FAKE_LOG collects one line a run. "train CONFIG --probe S --json --threads N --quiet" says that a step takes
# FAKE_STEP_N seconds.
if [ "$3" = --probe ]; then
    [ -n "$FAKE_LOG" ] && echo "probe $7" >> "$FAKE_LOG"
    eval "step=\$FAKE_STEP_$7"
    printf '{"threads": %s, "batch": 128, "steps": 1000, "setup_seconds": 0.1, "step_seconds": %s}\n' "$7" "${step:-0.1}"
    exit 0
fi
config=$2 out=$4 arm=$7 threads=$9
seed=$(sed -n 's/^  seed: //p' "$config" | head -n 1)
mkdir -p "$out" || exit 1
[ -n "$FAKE_LOG" ] && echo "$arm $seed" >> "$FAKE_LOG"
[ -n "$FAKE_SLEEP" ] && sleep "$FAKE_SLEEP"
if [ "$FAKE_FAIL" = "$arm:$seed" ]; then
    echo "fulcrum: fc: the loss became NaN"
    printf '{"status": "FUL_ERR_NUMERIC", "message": "fc: the loss became NaN", "epoch": 1}\n' > "$out/error.json"
    exit 1
fi
case $arm in
moe) acc=0.8${seed}0; experts='{"layer": "stage3.moe", "experts": 8, "k": 2, "effective_experts": 7.5, "dead": 0, "class_mi": 0.4, "entropy": 1.2, "entropy_marginal_norm": 0.98, "load_cv2": 0.02, "collapse_sign": false, "alarm": false, "train": {"drop_rate": 0.03, "alarm": false}}' ;;
*) acc=0.7${seed}5; experts= ;;
esac
for epoch in 1 2 3; do
    printf '{"epoch": %d, "epochs": 3, "train": {"loss": %d.5, "acc": 0.5}, "test": {"loss": 1.0, "acc": 0.%d1}, "val": null}\n' $epoch $((4 - epoch)) $((epoch + 4))
done > "$out/metrics.jsonl"
if [ -n "$experts" ]; then
    for epoch in 1 2 3; do
        for split in train test; do
            printf '{"epoch": %d, "layer": "stage3.moe", "split": "%s", "experts": 8, "k": 2, "load": [0.2,0.1,0.1,0.1,0.2,0.1,0.1,0.1], "effective_experts": 7.5, "dead": 0, "class_expert": [[5,1,0,0,0,0,0,0],[0,0,3,3,0,0,0,0]]}\n' $epoch $split
        done
    done > "$out/routing.jsonl"
fi
cat > "$out/result.json.new" <<EOF
{"format": "fulcrum-result-1", "version": "0", "arm": "$arm", "seed": $seed, "data": {"name": "clusters", "train": 100, "test": 50, "classes": 2, "class_names": ["<cat>", "dog"]},
 "test": {"acc": $acc, "loss": 0.6, "acc_capacity": $acc}, "train": {"acc": 0.9, "loss": 0.1}, "val": null, "curve": {"best_test_acc_seen": $acc},
 "seconds": {"train": 10.0}, "threads": $threads, "images_per_s": 1000.0, "infer_images_per_s": 4000.0, "init_hash": "abc$seed",
 "macs": {"forward": 2000000, "shared": 1200000, "router": 1000, "routed": 799000}, "params": {"total": 50000, "active": 20000},
 "rho": {"exec": 0.4, "exec_measured": 0.39, "site": 0.25, "total": 0.7, "params": 0.8}, "moe": [$experts]}
EOF
mv "$out/result.json.new" "$out/result.json"
