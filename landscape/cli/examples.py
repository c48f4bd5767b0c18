"""Examples shown below the help of each command."""

EXAMPLES = {
    "demo": """\
  landscape demo --quick --out quick          about a minute, to see that everything works
  landscape demo --out study                  the main job: three recipes, eight seeds, one verdict""",
    "train": """\
  landscape train sgd random-labels --seeds 8 --out runs
  landscape train sgd --sizes 64 128 10 --target 0.05 --out small""",
    "experiment": """\
  landscape experiment                        list them
  landscape experiment randomisation --quick --out tried""",
    "eigen": """\
  landscape eigen runs/sgd-0.safetensors -k 5 --save study.h5
  landscape eigen runs/*.safetensors --which BE --tol 1e-2
  landscape eigen best.pt --model mynet:build --data mynet:load --parameters 'classifier.*'""",
    "slice": """\
  landscape slice runs/sgd-0.safetensors --points 51 --save study.h5
  landscape slice best.pt --model mynet:build --data mynet:load --dims 1 --normalize layer""",
    "score": """\
  landscape score runs/sgd-0.safetensors --save study.h5
  landscape score runs/*.safetensors --scores lambda-max trace --json > scores.json
  landscape score best.safetensors --model mynet:build --data mynet:load --device cuda""",
    "compare": """\
  landscape compare SGD='runs/sgd-?.safetensors' Random='runs/random-labels-?.safetensors' --save study.h5
  landscape compare A='a/*.pt' B='b/*.pt' --model mynet:build --data mynet:load --waive gradient
  landscape compare true='a/*.pt' noise='b/*.pt' --model mynet:build --data mynet:load noise=mynet:random_labels""",
    "leaderboard": """\
  landscape leaderboard                            the board of all scores
  landscape leaderboard --score mymeasure:score    a score of your own: measured on 300 networks, resumably
  landscape leaderboard --score log-volume --sample 100 --workers 8""",
    "plot": """\
  landscape plot study.h5 --out figures
  landscape plot study.h5 sgd-0/plane main --format pdf""",
    "export": """\
  landscape export csv study.h5 sgd-0/plane -o plane.csv
  landscape export latex study.h5 main -o table.tex""",
    "report": """\
  landscape report study.h5 -o report.html
  landscape report study.h5 --latex paper""",
    "info": """\
  landscape info study.h5""",
    "validate": """\
  landscape validate study.h5""",
    "completion": """\
  landscape completion bash > ~/.local/share/bash-completion/completions/landscape
  echo 'eval "$(landscape completion zsh)"' >> ~/.zshrc""",
}
"""By command; every command has at least one."""
