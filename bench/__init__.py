"""Moorage measured beside Debian's docker-registry, on the machine it is run on.

`python -m bench` starts both with a data folder each on one filesystem, loads
the same images into them, measures them in turn (A B A B ...) and prints the
medians, and the median of the ratios of each round, against the bars.

It measures; it is no test. Yet a figure counts only when the replies were right:
a wrong status or a wrong digest fails its row.

    __main__    the arguments and the order of things
    servers     a registry as a process: started, ready, stopped
    processes   what a tree of processes has used: CPU and memory
    client      what one client does, over stdlib sockets
    crew        the processes the clients live in, apart from the servers'
    load        many small requests: wrk, and a loop of our own for HEAD
    images      content made from a seed, and the manifests around it
    measures    what a figure is called and the bar it is held to
    quiet       waiting until servers do nothing
    stand       what every row needs: crew, folder, how long to load
    manifests blobs tags memory startup     the rows, by noun
    rows        their order
    results     rounds, medians, ratios, and the same as JSON
    machine     where it was measured
    table       for a terminal, or as Markdown
"""
