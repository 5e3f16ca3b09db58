"""Whether each file of a release is the model that was trained, and where not, at which hop it stopped being that.

release.py     what is verified: the folders and files of one release;  probes.py  what its models are compared on
hops.py        every hop in words, what its failure withholds, and how a measure is judged by its bound
proving.py     the checks in order;  proof.py  what one leaves for the next;  room.py  the disk that they take meanwhile
report.py      the outcome, in rows and in lines;  seen.py  by what a proven file is known again when it is pushed
in_process.py  what transformers says of adapter and merged model;  in_llama_cpp.py  what llama.cpp says of the GGUFs
tensors.py     merged weights by PEFT's formulas;  beside.py  settings and whatever else lies beside them
carried.py     how much of the adapter is in a quant;  template.py  prompts, text and ids;  stops.py  whether answers end
serving.py     a llama-server with one of the files
published.py   the same for any release on the Hub
chunks.py      conversations as token ids, cut into pieces
logits.py      what a model in this process says of each next token, kept in a file;  divergence.py  how far two are apart
reference.py   the same as llama-perplexity's own file, so that llama.cpp can be compared with it
"""
