// Standard input, output and error as a process was started with them.
#pragma once

// Sees to it that the descriptors 0, 1 and 2 are taken, where the process was started without some
// of them: else they would go to the first files that it opens, and what is logged into those.
// Reading and writing a stream that was closed fails as before. First in main.
void streams_hold(void);
