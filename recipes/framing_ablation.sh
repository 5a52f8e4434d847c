#!/usr/bin/env bash
# Does the framing matter? SER encoders trained with each framing, and other encoders with their own, in each mode.
source "$(dirname "$0")/stages.sh"

usage() {
    cat <<'END'
usage: recipes/framing_ablation.sh --lssed-root DIR --daic-root DIR [options] [-- SETTINGS]

  --lssed-root DIR       folder with metadata_english_all.csv and wav_all/
  --daic-root DIR        folder with <id>_P folders or <id>_P.zip files and the split files
  --framings "A B ..."   default "65ms 25ms"; WINDOW/HOPms gives any other, such as 40/10ms
  --modes "A B"          default "probe finetune"
  --asr PATH             an ESPnet recogniser as well; its framing is its own, so that it has one row a mode
  --ssl PATH             a self-supervised model as well, likewise
  --model NAME           SER model, default pyresnet152; 'sertransfer models' lists them
  --pretrain-config FILE default configs/pretrain/paper.yaml; but for the framing, all SER encoders share it
  --transfer-configs DIR holds ENCODER_MODE.yaml, default configs/transfer
  --split NAME           split to report: dev (default) or test
  --run-dir DIR          default exp/framing_ablation
  --skip-bad             leave faulty items out and record them
  --stage N              begin with stage N (1 prepare LSSED, 2 prepare DAIC-WOZ, 3 train a SER encoder for each
                         framing, 4 transfer, 5 table)
  --stop-stage M         end with stage M
  -- SETTINGS            passed to 'sertransfer transfer'; --pretrain.NAME VALUE goes to 'sertransfer pretrain',
                         --prepare-a.NAME VALUE to 'sertransfer prepare' of LSSED, --prepare-b.NAME VALUE to that of
                         DAIC-WOZ, --prepare.NAME VALUE to both

The table (tables.csv, .tex, .html, and printed) has a row for each encoder, framing and mode, and the majority row.
A row that fails does not stop the others; it is named at the end, and the exit status is its own.
END
}

root='' daic='' framings='65ms 25ms' modes='probe finetune' asr='' ssl='' model=pyresnet152 config='' configs=''
split='' run_dir=exp/framing_ablation first_stage=1 stop_stage=5
options='--lssed-root=root --daic-root=daic --framings=framings --modes=modes --asr=asr --ssl=ssl --model=model
    --pretrain-config=config --transfer-configs=configs --split=split'
read_options "$options" "$@"
split_pair_overrides "${settings[@]}"
pretrain_options=() transfer_options=() to_pretrain=false
for word in "${overrides[@]}"; do
    case $word in
    --pretrain.*) to_pretrain=true; word=--${word#--pretrain.} ;;
    --*) to_pretrain=false ;;
    esac
    if $to_pretrain; then pretrain_options+=("$word"); else transfer_options+=("$word"); fi
done
[[ -n $root && -n $daic ]] || die "--lssed-root or --daic-root is missing; expected both corpora; see --help"
for folder in "$root" "$daic"; do
    [[ -d $folder ]] || die "found no folder '$folder'; expected the corpus folder; check --lssed-root and --daic-root"
done
for framing in $framings; do
    [[ $framing =~ ^[0-9.]+(/[0-9.]+)?ms$ ]] || die "--framings: found '$framing'; expected 65ms, 25ms or WINDOW/HOPms; such as 40/10ms"
done
config=${config:-$project/configs/pretrain/paper.yaml}
[[ -f $config ]] || die "--pretrain-config: found no file '$config'; expected a YAML config; see configs/pretrain"
configs=${configs:-$project/configs/transfer}
for encoder in ser ${asr:+asr} ${ssl:+ssl}; do
    [[ $encoder == ser || -e ${!encoder} ]] || die "--$encoder: found nothing at '${!encoder}'; expected the encoder's weights; check the path"
    for mode in $modes; do
        [[ -f $configs/${encoder}_$mode.yaml ]] || die "--modes: found no '$configs/${encoder}_$mode.yaml'; expected a config for each encoder and mode; leave '$mode' out or write one"
    done
done
[[ -z $split ]] || transfer_options+=(--split "$split")
mkdir -p "$run_dir"
top=$run_dir failed=() status=0

attempt() { # attempt NAME FUNCTION WORDS...: what fails is named, and the others go on
    local name=$1 result
    shift
    run_dir=$top/$name
    mkdir -p "$run_dir"
    set +e # in a condition, bash would go on after a failed command inside
    (
        set -e
        "$@"
    )
    result=$?
    set -e
    run_dir=$top
    ((result != 130)) || exit 130
    ((result == 0)) || { failed+=("$name"); status=$result; }
}

train() { # train FRAMING
    stage 3 "train a SER encoder, $1" "$(hash_files "$top/lssed.csv" "$config")" "$run_dir/metrics.json" \
        "$sertransfer" pretrain --config "$config" --model "$model" --manifest "$top/lssed.csv" \
        --run-dir "$run_dir" "${skip_bad[@]}" "${pretrain_options[@]}" --front_end.framing "$1"
}

transfer() { # transfer ENCODER MODE CHECKPOINT [FRAMING]: a checkpoint of another framing is refused
    local settings=$configs/$1_$2.yaml
    [[ -e $3 ]] || die "found no weights at '$3'; expected those of stage 3; run it first"
    stage 4 "$1, $2${4:+, $4}" "$(hash_files "$top/daic.csv" "$settings") $(hash_weights "$3")" "$run_dir/metrics.json" \
        "$sertransfer" transfer --config "$settings" --encoder "$1" --mode "$2" --checkpoint "$3" ${4:+--framing "$4"} \
        --manifest "$top/daic.csv" --run-dir "$run_dir" --embeddings "$top/embeddings" "${skip_bad[@]}" "${transfer_options[@]}"
}

stage 1 "prepare lssed" "$(hash_tree "$root")" "$top/lssed.csv" \
    "$sertransfer" prepare lssed "$root" -o "$top/lssed.csv" "${skip_bad[@]}" "${prepare_a[@]}"
stage 2 "prepare daic-woz" "$(hash_tree "$daic")" "$top/daic.csv" \
    "$sertransfer" prepare daic-woz "$daic" -o "$top/daic.csv" "${skip_bad[@]}" "${prepare_b[@]}"
if ((first_stage <= 3 && stop_stage >= 3)); then
    for framing in $framings; do attempt "ser_${framing//\//-}" train "$framing"; done
fi
rows=()
for mode in $modes; do
    for framing in $framings; do
        name=ser_${framing//\//-}
        rows+=("${name}_$mode")
        ((first_stage > 4 || stop_stage < 4)) ||
            attempt "${name}_$mode" transfer ser "$mode" "$top/$name/checkpoints/model.safetensors" "$framing"
    done
    for encoder in ${asr:+asr} ${ssl:+ssl}; do
        rows+=("${encoder}_$mode")
        ((first_stage > 4 || stop_stage < 4)) || attempt "${encoder}_$mode" transfer "$encoder" "$mode" "${!encoder}"
    done
done
((${#failed[@]} == 0)) || echo "failed, and not in the table: ${failed[*]}; see the messages above" >&2
if ((first_stage <= 5 && stop_stage >= 5)); then
    runs=()
    for name in "${rows[@]}"; do
        [[ " ${failed[*]} " == *" $name "* || ! -f $top/$name/metrics.json ]] || runs+=("$top/$name")
    done
    ((${#runs[@]})) || die "found no finished run in '$top'; expected one; run stage 4"
    write_tables "$top" "${runs[@]}" --grid
fi
exit "$status"
