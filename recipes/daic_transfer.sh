#!/usr/bin/env bash
# Stage 2: from the DAIC-WOZ folder and a pretrained encoder to subject-level decisions.
source "$(dirname "$0")/stages.sh"

usage() {
    cat <<'END'
usage: recipes/daic_transfer.sh --encoder ser --checkpoint PATH --daic-root DIR [options] [-- SETTINGS]

  --encoder NAME     'sertransfer encoders' lists them
  --checkpoint PATH  weights of the encoder, such as exp/lssed_pyresnet152/checkpoints/model.safetensors
  --daic-root DIR    folder with <id>_P folders or <id>_P.zip files and the split files
  --mode NAME        probe (default): a classifier on frozen sentence embeddings; finetune: train the SER encoder too
  --framing NAME     demand this framing of the checkpoint: 65ms, 25ms or WINDOW/HOPms
  --split NAME       split to report: dev (default, as the paper's Table 6) or test, where labels exist
  --config FILE      default configs/transfer/ENCODER_MODE.yaml
  --run-dir DIR      default exp/daic_ENCODER_MODE
  --skip-bad         leave faulty rows and sessions out and record them
  --stage N          begin with stage N (1 prepare, 2 describe, 3 embed, train the head and score)
  --stop-stage M     end with stage M
  -- SETTINGS        passed to 'sertransfer transfer'; --prepare.NAME VALUE goes to 'sertransfer prepare'
END
}

root='' encoder='' checkpoint='' mode=probe framing='' split='' config='' run_dir='' skip_bad=()
first_stage=1 stop_stage=3
while (($#)); do
    case $1 in
    --daic-root) need "$1" "${2-}"; root=$2; shift ;;
    --encoder) need "$1" "${2-}"; encoder=$2; shift ;;
    --checkpoint) need "$1" "${2-}"; checkpoint=$2; shift ;;
    --mode) need "$1" "${2-}"; mode=$2; shift ;;
    --framing) need "$1" "${2-}"; framing=$2; shift ;;
    --split) need "$1" "${2-}"; split=$2; shift ;;
    --config) need "$1" "${2-}"; config=$2; shift ;;
    --run-dir) need "$1" "${2-}"; run_dir=$2; shift ;;
    --skip-bad) skip_bad=(--skip-bad) ;;
    --stage) need "$1" "${2-}"; whole_number "$1" "$2"; first_stage=$2; shift ;;
    --stop-stage) need "$1" "${2-}"; whole_number "$1" "$2"; stop_stage=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    *) die "found '$1'; expected an option of --help, or settings after --" ;;
    esac
    shift
done
split_overrides "$@"
[[ -n $root ]] || die "--daic-root is missing; expected the corpus folder; see --help"
[[ -d $root ]] || die "--daic-root: found no folder '$root'; expected the corpus folder; check the path"
[[ -n $encoder ]] || die "--encoder is missing; expected a name; 'sertransfer encoders' lists them"
[[ -n $checkpoint ]] || die "--checkpoint is missing; expected the encoder's weights; train them with recipes/lssed_pretrain.sh"
[[ -e $checkpoint ]] || die "--checkpoint: found nothing at '$checkpoint'; expected the encoder's weights; check the path"

config=${config:-$project/configs/transfer/${encoder}_$mode.yaml}
[[ -f $config ]] || die "--encoder $encoder --mode $mode: found no config '$config'; expected one in configs/transfer; check both names"
run_dir=${run_dir:-exp/daic_${encoder}_$mode}
mkdir -p "$run_dir"
manifest=$run_dir/manifest.csv
overrides=(--mode "$mode" "${overrides[@]}")
[[ -z $split ]] || overrides+=(--split "$split")
[[ -z $framing ]] || overrides+=(--framing "$framing")

stage 1 "prepare daic-woz" "$(hash_tree "$root")" "$manifest" \
    "$sertransfer" prepare daic-woz "$root" -o "$manifest" "${skip_bad[@]}" "${prepare_options[@]}"
stage 2 "describe" "$(hash_files "$manifest")" "$run_dir/labels.svg" \
    "$sertransfer" describe "$manifest" --figure "$run_dir/labels.svg"
stage 3 "embed, train the head and score" "$(hash_files "$manifest" "$config" "$checkpoint")" \
    "$run_dir/metrics.json" \
    "$sertransfer" transfer --config "$config" --encoder "$encoder" --checkpoint "$checkpoint" \
    --manifest "$manifest" --run-dir "$run_dir" "${skip_bad[@]}" "${overrides[@]}"
