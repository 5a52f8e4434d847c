#!/usr/bin/env bash
# Stage 1: from the LSSED folder to a trained and scored speech emotion recogniser.
source "$(dirname "$0")/stages.sh"

usage() {
    cat <<'END'
usage: recipes/lssed_pretrain.sh --lssed-root DIR [options] [-- SETTINGS]

  --lssed-root DIR   folder with metadata_english_all.csv and wav_all/
  --model NAME       default pyresnet152; 'sertransfer models' lists them
  --config FILE      default configs/pretrain/paper.yaml, the paper's protocol
  --framing NAME     65ms (default), 25ms or WINDOW/HOPms
  --run-dir DIR      default exp/lssed_MODEL
  --corpus NAME      default lssed; another corpus in its own layout trains as well
  --processes N      train in N processes of this machine, a GPU each where there are GPUs; see docs/scaling.md
  --skip-bad         leave faulty files out and record them
  --stage N          begin with stage N (1 prepare, 2 describe, 3 train and score)
  --stop-stage M     end with stage M
  -- SETTINGS        passed to 'sertransfer pretrain'; --prepare.NAME VALUE goes to 'sertransfer prepare',
                     as in --prepare.split speaker
END
}

root='' model='' config='' framing='' run_dir='' corpus=lssed first_stage=1 stop_stage=3 processes=1
read_options '--lssed-root=root --model=model --config=config --framing=framing --corpus=corpus --processes=processes' "$@"
split_overrides "${settings[@]}"
[[ -n $root ]] || die "--lssed-root is missing; expected the corpus folder; see --help"
[[ -d $root ]] || die "--lssed-root: found no folder '$root'; expected the corpus folder; check the path"

positive_number --processes "$processes" "1 or more"
processes=$((10#$processes))
pretrain=("$sertransfer")
if ((processes > 1)); then
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # as torchrun would set it, without its warning
    torchrun=$(dirname "$(command -v "$sertransfer")")/torchrun
    pretrain=("$torchrun" --standalone --nproc-per-node "$processes" -m sertransfer.cli)
fi

model_name=${model:-pyresnet152}
config=${config:-$project/configs/pretrain/paper.yaml}
[[ -f $config ]] || die "--config: found no file '$config'; expected a YAML config; see configs/pretrain"
run_dir=${run_dir:-exp/lssed_$model_name}
mkdir -p "$run_dir"
manifest=$run_dir/manifest.csv
[[ -z $model ]] || overrides=(--model "$model" "${overrides[@]}")
[[ -z $framing ]] || overrides+=(--front_end.framing "$framing")

stage 1 "prepare $corpus" "$(hash_tree "$root")" "$manifest" \
    "$sertransfer" prepare "$corpus" "$root" -o "$manifest" "${skip_bad[@]}" "${prepare_options[@]}"
stage 2 "describe" "$(hash_files "${manifest}")" "$run_dir/labels.svg" \
    "$sertransfer" describe "$manifest" --figure "$run_dir/labels.svg"
stage 3 "train and score" "$(hash_files "$manifest" "$config")" "$run_dir/metrics.json" \
    "${pretrain[@]}" pretrain --config "$config" --manifest "$manifest" --run-dir "$run_dir" \
    "${skip_bad[@]}" "${overrides[@]}"
