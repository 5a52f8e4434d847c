#!/usr/bin/env bash
# The paper's Table 4: train on each of two corpora, score on both, print what is lost on the way.
source "$(dirname "$0")/stages.sh"

usage() {
    cat <<'END'
usage: recipes/cross_corpus.sh --a NAME --a-root DIR --b NAME --b-root DIR [options] [-- SETTINGS]

  --a, --b NAME          the two corpora; 'sertransfer corpora' lists them
  --a-root, --b-root DIR their folders
  --model NAME           default resnet152, as in the paper; 'sertransfer models' lists them
  --config FILE          default configs/pretrain/paper.yaml
  --absent NAME          error (default) or skip: what a class without test utterances does to UA across
  --run-dir DIR          default exp/cross_A_B_MODEL
  --a-run DIR            run folder of the training on A, default a in the run folder; a finished one is used as it is
  --skip-bad             leave faulty files out and record them
  --stage N              begin with stage N (1, 2 prepare A, B; 3, 4 train on A, B; 5, 6 A on B, B on A; 7 tables)
  --stop-stage M         end with stage M
  -- SETTINGS            passed to 'sertransfer pretrain'; --prepare-a.NAME VALUE and --prepare-b.NAME VALUE go to
                         'sertransfer prepare' of that corpus, --prepare.NAME VALUE to both
END
}

a='' a_root='' b='' b_root='' model=resnet152 config='' absent=error run_dir='' a_run=''
first_stage=1 stop_stage=7
read_options '--a=a --a-root=a_root --b=b --b-root=b_root --model=model --config=config --absent=absent --a-run=a_run' "$@"
split_pair_overrides "${settings[@]}"
[[ -n $a && -n $b ]] || die "--a or --b is missing; expected two corpora; 'sertransfer corpora' lists them"
[[ -d $a_root ]] || die "--a-root: found no folder '$a_root'; expected the corpus folder; check the path"
[[ -d $b_root ]] || die "--b-root: found no folder '$b_root'; expected the corpus folder; check the path"
config=${config:-$project/configs/pretrain/paper.yaml}
[[ -f $config ]] || die "--config: found no file '$config'; expected a YAML config; see configs/pretrain"
run_dir=${run_dir:-exp/cross_${a}_${b}_$model}
mkdir -p "$run_dir"
declare -A run_of=([a]=${a_run:-$run_dir/a} [b]=$run_dir/b)

prepare_one() { # prepare_one STAGE SIDE CORPUS ROOT OPTIONS...
    local number=$1 side=$2 corpus=$3 root=$4
    shift 4
    stage "$number" "prepare $corpus" "$(hash_tree "$root")" "$run_dir/$side.csv" \
        "$sertransfer" prepare "$corpus" "$root" -o "$run_dir/$side.csv" "${skip_bad[@]}" "$@"
}

train_on() { # train_on STAGE SIDE CORPUS
    stage "$1" "train on $3" "$(hash_files "$run_dir/$2.csv" "$config")" "${run_of[$2]}/metrics.json" \
        "$sertransfer" pretrain --config "$config" --model "$model" --manifest "$run_dir/$2.csv" \
        --run-dir "${run_of[$2]}" "${skip_bad[@]}" "${overrides[@]}"
}

score_across() { # score_across STAGE FROM TO TEXT
    local checkpoint=${run_of[$2]}/checkpoints/model.safetensors
    stage "$1" "$4" "$(hash_files "$checkpoint" "$run_dir/$3.csv")" "$run_dir/$2_on_$3/metrics.json" \
        "$sertransfer" evaluate "$checkpoint" "$run_dir/$3.csv" --absent "$absent" \
        --run-dir "$run_dir/$2_on_$3" "${skip_bad[@]}"
}

((first_stage > 1 || stop_stage < 1)) || prepare_one 1 a "$a" "$a_root" "${prepare_a[@]}"
((first_stage > 2 || stop_stage < 2)) || prepare_one 2 b "$b" "$b_root" "${prepare_b[@]}"
((first_stage > 3 || stop_stage < 3)) || train_on 3 a "$a"
((first_stage > 4 || stop_stage < 4)) || train_on 4 b "$b"
((first_stage > 5 || stop_stage < 5)) || score_across 5 a b "from $a to $b"
((first_stage > 6 || stop_stage < 6)) || score_across 6 b a "from $b to $a"
runs=("${run_of[a]}" "${run_of[b]}" "$run_dir/a_on_b" "$run_dir/b_on_a")
((first_stage > 7 || stop_stage < 7)) || write_tables "$run_dir" "${runs[@]}"
