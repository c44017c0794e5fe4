"""Trace five ways through owseg on tiny synthetic data, and print which files each of them enters, in order.

    python -m tools.traces [predict|learn|evaluate|benchmark|train ...] [--json] [--all]

Every way is one call of the command line in a process of its own, so that no import or cache of another way hides a
file. A profile hook sees each function of the package that starts; what runs while a module is imported is left out.

**Counts.** ``files`` are the files in which a function ran. ``calls`` are the functions that were started from a
function of another file (the nearest on the stack, whatever other libraries lie between); a generator counts when it
starts, not each time it goes on. ``pairs`` are the pairs of files that start functions of each other.

**Stations.** Not every file that is entered is a place where a reader has to follow the way (see ``stations``):

* values, small tools and the insides of networks are looked through: what they call counts as called by the station
  that they were called from;
* ways of their own, such as loading, and constructors are left out with all that runs beneath them;
* a room of plug-ins is one station, whichever of its files answers, and an end is one station, whatever it does: what
  runs beneath either is left out, unless it climbs back into a station above.

All other files are stations. ``stations`` lists them in the order of their first entry. An entry is a call that goes
down from one station into another; its door is (the station that calls, the function called), so a loop over images
goes through one door, however often. ``strict`` has only the first of these exceptions, and loading: it counts every
file that is no value, tool or network, as soon as one of its functions runs outside of loading.

**Entered again.** A door of a station that was entered before is

* ``callback`` if the station is on the stack already, so that a callee climbs back into a caller;
* ``second`` if another station than the first one calls;
* ``again`` if the station that called first calls another function of it.

The first two are re-entries: a way with none enters no station twice. ``again`` is listed beside them. A door is marked
``pulled`` if the function is a generator: the callee asks for the next item, rather than calling back.
"""
