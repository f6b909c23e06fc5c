#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A user's whole way on generated data: train, resume, evaluate, predict, inspect, study, report, interrupt. usage: journey.sh PROGRAM
set -u
F=$(realpath "$1")
image=$(dirname "$(realpath "$0")")/../fuzz/corpus/image/rgb.png
W=$(realpath "$(dirname "$0")")/../train/weights
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
export XDG_CACHE_HOME="$T/cache" LC_ALL=C
cd "$T" || exit 1
passed=0
failed=0
# ok NAME COMMAND…: the command must succeed.
ok() {
    name=$1
    shift
    if "$@" >out 2>err; then
        passed=$((passed + 1))
    else
        echo "[  FAILED  ] $name: exit $?"
        cat out err
        failed=$((failed + 1))
    fi
}
# holds NAME FILE PATTERN: the file must hold a line that matches.
holds() {
    if grep -Eq "$3" "$2"; then
        passed=$((passed + 1))
    else
        echo "[  FAILED  ] $1: no line of $2 matches $3"
        cat "$2"
        failed=$((failed + 1))
    fi
}

cat >config.yaml <<'YAML'
data: {name: clusters, gen_train: 320, gen_test: 100}
net: {arch: resnet8, width: 8}
moe:
  - {at: stage3, expert: conv, experts: 4, k: 2, hidden: 8}
train: {epochs: 2, batch: 32, lr: 0.05}
YAML
ok train "$F" train config.yaml --out run
holds accuracy out 'test accuracy [0-9.]+ %'
for file in config.yaml metrics.jsonl routing.jsonl last.safetensors predictions.bin result.json; do ok "run folder has $file" test -s "run/$file"; done
ok "a finished run is not redone" "$F" train config.yaml --out run --resume
"$F" train config.yaml --out run >out 2>err
ok "a used folder is refused with a reason" test $? = 3 -o $? = 1
ok "the resolved config trains again" "$F" train run/config.yaml --out again
ok "to the same metrics" sh -c "sed 's/\"seconds\":[^,}]*//; s/\"images_per_s\":[^,}]*//; s/\"data_wait_s\":[^,}]*//' run/metrics.jsonl >a; sed 's/\"seconds\":[^,}]*//; s/\"images_per_s\":[^,}]*//; s/\"data_wait_s\":[^,}]*//' again/metrics.jsonl >b; cmp a b"
ok eval "$F" eval run --json
holds "eval counts the test images" out '"images": 100'
ok "eval writes its pictures" "$F" eval run --figures figs --batches 1,7,32 --json
holds "batches give the same bits" out '"same_bits": true'
ok "the matrix is a picture" grep -q '</svg>' figs/confusion.svg
ok "eval against another run" "$F" eval run --against again
holds "runs of the same bits do not differ" out 'McNemar: p = 1 '
ok "eval on corrupted images" "$F" eval run --against again --corrupt fog,jpeg_compression --severity 2 --tta flip --json
holds "has its mean corruption error" out '"mce": 1.0'
"$F" eval run --temperature >out 2>err
ok "a temperature needs a validation split" test $? = 3
"$F" eval run --corrupt rain >out 2>err
ok "an unknown corruption is a usage error" test $? = 2
ok "eval at the training capacity" "$F" eval run --training-capacity
cat >augment.yaml <<'YAML'
data:
  name: clusters
  gen_train: 320
  gen_test: 50
  size: 24
  crop: 16
  augment: [{rrc: {scale: [0.3, 1]}}, flip, trivialaugment, {jitter: {hue: 0.1}}, erase, mixup, cutmix, {repeat: {times: 2}}]
net: {arch: resnet8, width: 8}
train: {epochs: 1, batch: 32, lr: 0.05, label_smoothing: 0.1}
YAML
ok "train with all augmentation" "$F" train augment.yaml --out augmented
holds "mixed labels are reported" augmented/metrics.jsonl '"mixed_labels": true'
holds "the net sees the crop" augmented/config.yaml 'height: 16'
ok "ten crops" "$F" eval augmented --ten-crop probabilities --json
holds "ten crops count each image once" out '"images": 50'
ok "the same augmentation again" "$F" train augmented/config.yaml --set data.workers=3 --out augmented3
ok "does not depend on the workers" test "$(grep -o '"loss": [0-9.]*' augmented/metrics.jsonl)" = "$(grep -o '"loss": [0-9.]*' augmented3/metrics.jsonl)"
ok inspect "$F" inspect run
holds "inspect shows experts" out 'stage3.moe'
ok "inspect as JSON" "$F" inspect run --json
ok rho "$F" rho config.yaml --json --no-time
ok doctor "$F" doctor
ok "data info" "$F" data info clusters
ok "predict explains" "$F" predict run "$image" --explain --page experts.html
holds "by experts" out 'stage3.moe: expert [0-3] '
ok "and shows the image beside them" grep -q 'data:image/png;base64,' experts.html
ok "predict as JSON" "$F" predict run "$image" --explain --json
holds "has every token" out '"token_experts"'
printf 'P6' >not.png
"$F" predict run not.png >out 2>err
code=$?
holds "a bad image is named" err 'not.png'
ok "and is exit 3" test $code = 3

ok "another program's weights as a checkpoint" "$F" import "$W/resnet8.safetensors" --set net.arch=resnet8 --set net.width=4 --set net.height=12 --out other.safetensors
holds "import says whose names" out 'named as in torchvision and timm'
ok "which can be inspected" "$F" inspect other.safetensors
ok "a training starts from the weights" "$F" train config.yaml --set net.width=4 --set "net.weights=$W/resnet8.safetensors" --set train.epochs=1 --threads 1 --out finetuned --verbose
holds "and says what is drawn" err 'the classifier is drawn: .* 5 classes, and the data 10'
"$F" import "$W/mixer_s.safetensors" --set net.arch=resnet8 --out no.safetensors >out 2>err
code=$?
holds "weights of another net are refused by name" err 'no classifier with a name known for resnet8'
ok "and that is exit 3" test $code = 3

cat >plan.yaml <<'YAML'
study: tiny
base:
  data: {name: clusters, gen_train: 320, gen_test: 100}
  net: {arch: resnet8, width: 8}
  train: {epochs: 1, batch: 32, lr: 0.05}
arms:
  - name: moe
    set: {moe: [{at: stage3, expert: conv, experts: 4, k: 2, hidden: 8}]}
  - {name: dense, like: moe, dense: active}
seeds: 2
YAML
ok study "$F" study plan.yaml --out study --jobs 2
holds "the table names the cell" out 'moe vs dense'
holds "the report's path is shown" out 'report: study/report.html'
ok "the study goes on where it was" "$F" study plan.yaml --out study --quiet
ok "arms began from the same backbone" sh -c 'test $(grep -ho "\"init_hash\": *\"[0-9a-f]*\"" study/runs/*/seed1/result.json | sort -u | wc -l) = 1'
ok report "$F" report study -o page.html --figures figures
ok "figures are there" test -s figures/gap-vs-rho.svg

"$F" train config.yaml --set train.epochs=200 --out long >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && ! [ -s long/last.safetensors ]; do sleep 0.1; done
kill -INT $pid
wait $pid
ok "an interrupt ends with 130" test $? = 130
ok "and leaves a checkpoint" "$F" inspect long/last.safetensors

echo "[  PASSED  ] $passed test(s)."
[ "$failed" = 0 ] && exit 0
echo "[  FAILED  ] $failed test(s)"
exit 1
