#!/usr/bin/env bash
# Both stages and both encoders of the paper's Table 6, on generated corpora in the layouts of LSSED and DAIC-WOZ:
# shows that the path works, no more.
source "$(dirname "$0")/stages.sh"

demo=${1:-exp/demo}
[[ $demo != -* ]] || die "found '$demo', which begins with '-'; expected a folder; write such a path as './$demo'"
daic=$demo/corpora/daic-woz
"$sertransfer" demo "$demo/corpora"
"$recipes/lssed_pretrain.sh" --lssed-root "$demo/corpora/lssed" --run-dir "$demo/ser" \
    --config "$project/configs/pretrain/demo.yaml" -- --prepare.split speaker
"$recipes/daic_transfer.sh" --encoder ser --checkpoint "$demo/ser/checkpoints/model.safetensors" \
    --daic-root "$daic" --run-dir "$demo/daic_ser"

run_dir=$demo/asr first_stage=1 stop_stage=1
mkdir -p "$run_dir"
stage 1 "train a tiny ESPnet recogniser" '' "$run_dir/result.json" "$sertransfer" demo-recogniser "$run_dir"
"$recipes/daic_transfer.sh" --encoder asr --checkpoint "$run_dir/exp/asr_train" \
    --daic-root "$daic" --run-dir "$demo/daic_asr"

runs=("$demo/daic_asr" "$demo/daic_ser")
write_tables "$demo" "${runs[@]}"
"$sertransfer" compare "${runs[@]}" --html "$demo/comparison.html"
echo "All numbers of ours above are of generated data: they show that the software works and nothing about people."
echo "Open $demo/daic_ser/report.html, $demo/daic_asr/report.html, $demo/comparison.html and $demo/tables.html"
