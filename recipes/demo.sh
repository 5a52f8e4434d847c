#!/usr/bin/env bash
# Both stages on generated corpora in the layouts of LSSED and DAIC-WOZ: shows that the path works, no more.
source "$(dirname "$0")/stages.sh"

demo=${1:-exp/demo}
"$sertransfer" demo "$demo/corpora"
"$recipes/lssed_pretrain.sh" --lssed-root "$demo/corpora/lssed" --run-dir "$demo/ser" \
    --config "$project/configs/pretrain/demo.yaml" -- --prepare.split speaker
"$recipes/daic_transfer.sh" --encoder ser --checkpoint "$demo/ser/checkpoints/model.safetensors" \
    --daic-root "$demo/corpora/daic-woz" --run-dir "$demo/daic_ser"
echo "All numbers above are of generated data: they show that the software works and nothing about people."
echo "Open $demo/daic_ser/report.html"
