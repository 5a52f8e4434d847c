#!/usr/bin/env bash
# Stage 2: from the DAIC-WOZ (or E-DAIC) folder and a pretrained encoder to subject-level decisions.
source "$(dirname "$0")/stages.sh"

usage() {
    cat <<'END'
usage: recipes/daic_transfer.sh --encoder NAME --checkpoint PATH --daic-root DIR [options] [-- SETTINGS]

  --encoder NAME     ser, asr or ssl; 'sertransfer encoders' says what each is
  --checkpoint PATH  weights of the encoder: exp/lssed_pyresnet152/checkpoints/model.safetensors for ser, an ESPnet
                     experiment folder or ZIP for asr, a file or folder for ssl
  --daic-root DIR    folder with <id>_P folders or <id>_P.zip files and the split files
  --corpus NAME      daic-woz (default) or e-daic, whose folder --daic-root then is
  --mode NAME        probe (default): a classifier on frozen sentence embeddings; finetune: train the encoder too
  --tune N           search for the settings with N trials a study on the training subjects, and score with the choice:
                     of probes by nested cross-validation, of fine-tuning by its inner loss
  --framing NAME     demand this framing of the checkpoint: 65ms, 25ms or WINDOW/HOPms
  --split NAME       split to report: dev (default, as the paper's Table 6) or test, where labels exist
  --config FILE      default configs/transfer/ENCODER_MODE.yaml, with --tune ENCODER_tune.yaml for probes and
                     ENCODER_finetune_tune.yaml for fine-tuning
  --run-dir DIR      default exp/daic_ENCODER_MODE, with --tune exp/daic_ENCODER_MODE_tune
  --skip-bad         leave faulty rows and sessions out and record them
  --stage N          begin with stage N (1 prepare, 2 describe, 3 embed, train the head and score)
  --stop-stage M     end with stage M
  -- SETTINGS        passed to 'sertransfer transfer', with --tune to 'sertransfer tune'; --prepare.NAME VALUE goes to
                     'sertransfer prepare'
END
}

root='' corpus=daic-woz encoder='' checkpoint='' mode=probe trials='' framing='' split='' config='' run_dir=''
first_stage=1 stop_stage=3
options='--daic-root=root --encoder=encoder --checkpoint=checkpoint --corpus=corpus --mode=mode --tune=trials
    --framing=framing --split=split --config=config'
read_options "$options" "$@"
split_overrides "${settings[@]}"
[[ -n $root ]] || die "--daic-root is missing; expected the corpus folder; see --help"
[[ -d $root ]] || die "--daic-root: found no folder '$root'; expected the corpus folder; check the path"
[[ -n $encoder ]] || die "--encoder is missing; expected a name; 'sertransfer encoders' lists them"
[[ -n $checkpoint ]] || die "--checkpoint is missing; expected the encoder's weights; train them with recipes/lssed_pretrain.sh"
[[ -e $checkpoint ]] || die "--checkpoint: found nothing at '$checkpoint'; expected the encoder's weights; check the path"

[[ $corpus == daic-woz || $corpus == e-daic ]] || die "--corpus: found '$corpus'; expected daic-woz or e-daic; prepare others with 'sertransfer prepare'"
[[ -z $trials ]] || positive_number --tune "$trials" "a number of trials (the configs have 30 for probes and 12 for fine-tuning)"

name=${encoder}_$mode choice=(--mode "$mode")
if [[ -n $trials ]]; then
    command=tune what="embed, search for the settings and score"
    name=${name%_probe}_tune
    choice+=(--trials "$trials")
else
    command=transfer what="embed, train the head and score"
fi
config=${config:-$project/configs/transfer/$name.yaml}
[[ -f $config ]] || die "--encoder $encoder --mode $mode: found no config '$config'; expected one in configs/transfer; check both names"
run_dir=${run_dir:-exp/daic_${encoder}_$mode${trials:+_tune}}
mkdir -p "$run_dir"
manifest=$run_dir/manifest.csv
overrides=("${choice[@]}" "${overrides[@]}")
[[ -z $split ]] || overrides+=(--split "$split")
[[ -z $framing ]] || overrides+=(--framing "$framing")

stage 1 "prepare $corpus" "$(hash_tree "$root")" "$manifest" \
    "$sertransfer" prepare "$corpus" "$root" -o "$manifest" "${skip_bad[@]}" "${prepare_options[@]}"
stage 2 "describe" "$(hash_files "$manifest")" "$run_dir/labels.svg" \
    "$sertransfer" describe "$manifest" --figure "$run_dir/labels.svg"
stage 3 "$what" "$(hash_files "$manifest" "$config") $(hash_weights "$checkpoint")" "$run_dir/metrics.json" \
    "$sertransfer" "$command" --config "$config" --encoder "$encoder" --checkpoint "$checkpoint" \
    --manifest "$manifest" --run-dir "$run_dir" "${skip_bad[@]}" "${overrides[@]}"
