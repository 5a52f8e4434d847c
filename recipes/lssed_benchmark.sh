#!/usr/bin/env bash
# The paper's Tables 1 to 5 and Figures 1 and 2: every model of the registry on LSSED, and with IEMOCAP the way
# from one to the other.
source "$(dirname "$0")/stages.sh"

usage() {
    cat <<'END'
usage: recipes/lssed_benchmark.sh --lssed-root DIR [--iemocap-root DIR] [options] [-- SETTINGS]

  --lssed-root DIR    folder with metadata_english_all.csv and wav_all/
  --iemocap-root DIR  folder with Session1 to Session5, for Table 4 and beside LSSED in Table 1
  --models "A B ..."  default: every name that 'sertransfer models' lists but the small ones
  --cross-model NAME  model of Table 4, default resnet152 as in the paper
  --config FILE       default configs/pretrain/paper.yaml, the paper's protocol
  --run-dir DIR       default exp/lssed_benchmark
  --skip-bad          leave faulty files out and record them
  --stage N           begin with stage N (1 prepare, 2 describe, 3 train and score all, 4 Table 4, 5 tables)
  --stop-stage M      end with stage M
  -- SETTINGS         passed to 'sertransfer pretrain'; --prepare-a.NAME VALUE goes to 'sertransfer prepare' of
                      LSSED, --prepare-b.NAME VALUE to that of IEMOCAP, --prepare.NAME VALUE to both

The run folder then holds tables.txt, .csv, .tex and .html with all tables, and figures/. Tables 1 to 3 and Figure 1
count every label of a corpus (all_lssed.csv, all_iemocap.csv), the models learn the four of the paper's task.
A model that fails does not stop the others; it is named at the end, and the exit status is its own.
END
}

root='' iemocap='' models='' cross_model=resnet152 config='' run_dir=exp/lssed_benchmark
first_stage=1 stop_stage=5
read_options '--lssed-root=root --iemocap-root=iemocap --models=models --cross-model=cross_model --config=config' "$@"
split_pair_overrides "${settings[@]}"
[[ -n $root ]] || die "--lssed-root is missing; expected the corpus folder; see --help"
[[ -d $root ]] || die "--lssed-root: found no folder '$root'; expected the corpus folder; check the path"
[[ -z $iemocap || -d $iemocap ]] || die "--iemocap-root: found no folder '$iemocap'; expected the corpus folder; check the path"
config=${config:-$project/configs/pretrain/paper.yaml}
[[ -f $config ]] || die "--config: found no file '$config'; expected a YAML config; see configs/pretrain"
known=$("$sertransfer" models | cut -d' ' -f1)
models=${models:-$(grep -v _tiny <<<"$known")}
for model in $models $cross_model; do
    grep -qx -- "$model" <<<"$known" || die "--models: found '$model'; expected names of models; 'sertransfer models' lists them"
done
mkdir -p "$run_dir"
manifest=$run_dir/manifest.csv
top=$run_dir

trees=$(hash_tree "$root")
[[ -z $iemocap ]] || trees+=$(hash_tree "$iemocap")

describe_corpora() { # of all their labels, whatever the models learn
    "$sertransfer" prepare lssed "$root" -o "$top/all_lssed.csv" "${skip_bad[@]}" "${prepare_a[@]}" --task eleven
    described=("$top/all_lssed.csv")
    if [[ -n $iemocap ]]; then
        "$sertransfer" prepare iemocap "$iemocap" -o "$top/all_iemocap.csv" "${skip_bad[@]}" "${prepare_b[@]}" --task all
        described+=("$top/all_iemocap.csv")
    fi
    "$sertransfer" describe "${described[@]}" -o "$top/corpora.txt"
    cat "$top/corpora.txt"
}

stage 1 "prepare lssed" "$(hash_tree "$root")" "$manifest" \
    "$sertransfer" prepare lssed "$root" -o "$manifest" "${skip_bad[@]}" "${prepare_a[@]}"
stage 2 "describe" "$trees ${skip_bad[*]} ${prepare_a[*]} / ${prepare_b[*]}" "$run_dir/corpora.txt" describe_corpora

failed=() status=0
for model in $models; do
    ((first_stage <= 3 && stop_stage >= 3)) || continue
    run_dir=$top/$model
    mkdir -p "$run_dir"
    set +e # in a condition, bash would go on after a failed command inside
    (
        set -e
        stage 3 "train and score $model" "$(hash_files "$manifest" "$config")" "$run_dir/metrics.json" \
            "$sertransfer" pretrain --config "$config" --model "$model" --manifest "$manifest" \
            --run-dir "$run_dir" "${skip_bad[@]}" "${overrides[@]}"
    )
    result=$?
    set -e
    ((result != 130)) || exit 130
    ((result == 0)) || { failed+=("$model"); status=$result; }
done
run_dir=$top
if [[ -n $iemocap ]] && ((first_stage <= 4 && stop_stage >= 4)); then
    home=$top/$cross_model # what stage 3 trained on LSSED need not be trained again
    [[ ! -d $top/cross/a ]] || home=$top/cross/a
    result=0
    "$recipes/cross_corpus.sh" --a lssed --a-root "$root" --b iemocap --b-root "$iemocap" --stop-stage 6 \
        --model "$cross_model" --config "$config" --run-dir "$top/cross" --a-run "$home" "${skip_bad[@]}" -- "${settings[@]}" || result=$?
    ((result != 130)) || exit 130
    ((result == 0)) || { failed+=("Table 4"); status=$result; }
fi
((${#failed[@]} == 0)) || echo "failed, and not in the tables: ${failed[*]}; see the messages above" >&2
((first_stage <= 5 && stop_stage >= 5)) || exit "$status"

runs=() options=()
for folder in $models "$cross_model" cross/a cross/b cross/a_on_b cross/b_on_a; do
    [[ ! -f $top/$folder/metrics.json || " ${runs[*]-} " == *" $top/$folder "* ]] || runs+=("$top/$folder")
done
((${#runs[@]})) || die "found no finished run in '$top'; expected one; run stage 3"
for corpus in lssed iemocap; do
    [[ ! -f $top/all_$corpus.csv ]] || options+=(--describe "$top/all_$corpus.csv")
done
write_tables "$top" "${runs[@]}" "${options[@]}"

has() { # has PATTERN: the files that match it, or that there is none
    local files
    mapfile -t files < <(compgen -G "$1" || true)
    if ((${#files[@]} == 0)); then echo "none"; else echo "${files[*]}"; fi
}
table_4="tables.* (losses from corpus to corpus)"
[[ -f $top/cross/b_on_a/metrics.json ]] || table_4="none: it needs --iemocap-root"
cat <<END

What is where, in $top:
  Tables 1 to 3  $( ((${#options[@]})) && echo "tables.* (the corpora, all labels)" || echo "none: run stage 2")
  Table 4        $table_4
  Table 5        tables.* (${#runs[@]} runs beside the paper's 21 rows)
  Figure 1       $(has "$top/figures/figure_1_*.svg")
  Figure 2       $top/figures/figure_2_RUN.svg, and in numbers in tables.* for the paper's two networks
  each run       RUN/report.html
tables.* are tables.txt, tables.csv, tables.tex and tables.html.
END
exit "$status"
